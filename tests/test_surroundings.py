"""Surroundings: turning back finds the place, what is known is what some view has shown, walking moves it all."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch

from astra_play.actions.rows import camera_motion, camera_row
from astra_play.codec.mini import MiniCodec, fit_linear
from astra_play.config import CodecConfig, ControlsConfig
from astra_play.model import surroundings as surroundings_module
from astra_play.model.anchor import CameraMotion
from astra_play.model.surroundings import KNOWN, Surroundings, _farthest, folded

WIDTH, HEIGHT = 64, 48
# Nothing stands there, so map and picture move alike.
CONTROLS = ControlsConfig(scene_depth_m=1e5, max_turn_deg_per_frame=20.0)
TURN = camera_row(0.0, 0.0, math.radians(20))


def motion_codec() -> CodecConfig:
    return CodecConfig(latent_channels=8, spatial_compression=8, decoder_width=16, decoder_blocks=1)


@pytest.fixture(scope="module")
def motion() -> CameraMotion:
    torch.manual_seed(0)
    codec = MiniCodec(motion_codec())
    fit_linear(codec, torch.rand(50, 3, HEIGHT, WIDTH) * 2 - 1)
    return CameraMotion(codec, torch.ones(8), WIDTH, HEIGHT, CONTROLS, coverage=True)


def surroundings(motion: CameraMotion, fade_m: float = 8.0, imagines: bool = False) -> Surroundings:
    return Surroundings(motion, motion.paint, leak=0.0, fade_m=fade_m, controls=CONTROLS, height=HEIGHT, width=WIDTH,
                        imagines=imagines)


def smooth_picture(seed: int, batch: int = 1) -> torch.Tensor:
    coarse = torch.rand(batch, 3, 6, 8, generator=torch.Generator().manual_seed(seed)) * 1.6 - 0.8
    return torch.nn.functional.interpolate(coarse, (HEIGHT, WIDTH), mode="bicubic", align_corners=False).clamp(-1, 1)


def play(carried: Surroundings, rows: list, batch: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    """Let every frame be just what was expected; return the last picture and coverage."""
    for row in rows:
        anchor = carried.expect(torch.from_numpy(row).expand(batch, 1, 12))
        pictures, _ = carried.paint_over(anchor[:, :, :8])
    return pictures[:, 0], anchor[:, 0, 8]


def back(rows: list) -> list:
    """The same turns the other way, last first: the inverse of a rotation is its transpose."""
    inverse = []
    for row in reversed(rows):
        matrix = row.reshape(3, 4).copy()
        matrix[:, :3] = matrix[:, :3].T
        inverse.append(matrix.reshape(12))
    return inverse


@pytest.mark.parametrize("rows", [
    [TURN] * 6,  # to 120 degrees, nothing of the first view left
    [camera_row(0.0, 0.0, -0.3), camera_row(0.0, 0.0, 0.0, 0.4), camera_row(0.0, 0.0, -0.5)],
])
def test_turning_away_and_back_finds_the_place_as_it_was(motion: CameraMotion, rows: list) -> None:
    carried, picture = surroundings(motion), smooth_picture(1)
    carried.show(picture)
    away, _ = play(carried, rows)
    assert (away - picture).abs().mean() > 0.1
    returned, coverage = play(carried, back(rows))
    assert (returned - picture).abs().mean() < 0.01 and coverage.min() > 0.85  # the rim is a fraction of a pixel off


def test_a_whole_turn_comes_round_to_the_start_across_the_seam(motion: CameraMotion) -> None:
    carried, picture = surroundings(motion), smooth_picture(2)
    carried.show(picture)
    returned, coverage = play(carried, [TURN] * 18)
    assert (returned - picture).abs().mean() < 0.02 and coverage.min() == 1.0


def test_known_is_what_lay_inside_some_earlier_view(motion: CameraMotion) -> None:
    """Ray by ray: a direction is known if any view so far had it between its edges."""
    rows = [camera_row(0.0, 0.0, yaw, pitch) for yaw, pitch in
            ((0.3, 0.1), (0.3, -0.2), (-0.9, 0.0), (-0.5, 0.3), (0.2, 0.0))]
    carried = surroundings(motion)
    carried.show(smooth_picture(3))
    limit_y = math.tan(math.radians(30))
    limit_x = limit_y * WIDTH / HEIGHT
    views, body, head = [torch.eye(3, dtype=torch.float64)], 0.0, 0.0
    for row in rows:
        anchor = carried.expect(torch.from_numpy(row).reshape(1, 1, 12))
        _, _, yaw, pitch = camera_motion(row)
        body, head = body + yaw, head + pitch
        now = torch.from_numpy(camera_row(0.0, 0.0, body, head).reshape(3, 4)[:, :3]).double()  # pitch after yaw
        for cell_y in range(HEIGHT // 8):
            for cell_x in range(WIDTH // 8):
                known = 0
                for y in range(8 * cell_y, 8 * cell_y + 8):
                    for x in range(8 * cell_x, 8 * cell_x + 8):
                        ray = torch.tensor([((x + 0.5) / WIDTH * 2 - 1) * limit_x,
                                            ((y + 0.5) / HEIGHT * 2 - 1) * limit_y, 1.0], dtype=torch.float64)
                        seen = [view @ (now.T @ ray) for view in views]
                        known += any(p[2] > 0 and abs(p[0] / p[2]) <= limit_x and abs(p[1] / p[2]) <= limit_y
                                     for p in seen)
                assert anchor[0, 0, 8, cell_y, cell_x].item() == pytest.approx(known / 64, abs=0.2), (cell_y, cell_x)
        carried.paint_over(anchor[:, :, :8])
        views.append(now)


def test_walking_moves_the_map_as_it_moves_a_picture(motion: CameraMotion) -> None:
    picture, row = smooth_picture(4), camera_row(0.2, 0.05)
    carried = surroundings(motion)
    carried.show(picture)
    ours, _ = play(carried, [row])
    theirs = motion.move(picture, torch.from_numpy(row).reshape(1, 3, 4))
    inner = (..., slice(6, -6), slice(8, -8))
    assert (ours[inner] - theirs[inner]).abs().max() < 0.06
    assert (picture[inner] - theirs[inner]).abs().max() > 0.1  # the step is large enough to show


def test_what_is_out_of_view_fades_with_the_way_walked_and_not_with_looking(motion: CameraMotion) -> None:
    def coverage_behind(fade_m: float, walk: list) -> float:
        carried = surroundings(motion, fade_m)
        carried.show(smooth_picture(5))
        _, coverage = play(carried, [TURN] * 5 + walk + back([TURN] * 5))
        return coverage.mean().item()

    walk = [camera_row(0.2)] * 8  # 1.6 m, so that exp(-1.6 / 2) is less than a half
    assert coverage_behind(2.0, []) > 0.95
    assert coverage_behind(2.0, walk) < coverage_behind(1e9, walk) - 0.15


def test_streams_of_a_batch_do_not_see_each_other(motion: CameraMotion) -> None:
    pictures, together = smooth_picture(6, batch=2), surroundings(motion)
    together.show(pictures)
    rows = [(TURN, camera_row(0.2)), (camera_row(0.1, 0.1, -0.7), TURN), (TURN, camera_row(0.0, 0.0, -0.3, 0.2))]
    alone = [surroundings(motion) for _ in range(2)]
    for index, carried in enumerate(alone):
        carried.show(pictures[index:index + 1])
    for both in rows:
        anchor = together.expect(torch.stack([torch.from_numpy(row) for row in both])[:, None])
        made, _ = together.paint_over(anchor[:, :, :8])
        for index, carried in enumerate(alone):
            own, coverage = play(carried, [both[index]])
            assert torch.allclose(made[index:index + 1, 0], own, atol=1e-4)
            assert torch.allclose(anchor[index, 0, 8], coverage[0], atol=1e-4)


def test_frames_of_a_chunk_follow_one_another(motion: CameraMotion) -> None:
    rows = [camera_row(0.05, 0.0, 0.1), camera_row(0.0, 0.1, -0.05)]
    in_one, in_two = surroundings(motion), surroundings(motion)
    for carried in (in_one, in_two):
        carried.show(smooth_picture(7))
    anchors = in_one.expect(torch.stack([torch.from_numpy(row) for row in rows])[None])
    pictures, _ = in_one.paint_over(anchors[:, :, :8])
    inner = (..., slice(8, -8), slice(10, -10))
    assert (pictures[0, 1][inner] - play(in_two, rows)[0][0][inner]).abs().mean() < 0.01


def test_the_horizon_stays_level_when_a_lifted_head_turns(motion: CameraMotion) -> None:
    """Bands of sky and ground, a look up, a turn by steps: the bands must still be level, or the map has rolled."""
    bands = torch.where(torch.arange(HEIGHT)[:, None] < HEIGHT // 2, 0.8, -0.8).expand(1, 3, HEIGHT, WIDTH)
    carried = surroundings(motion)
    carried.show(bands)
    picture, _ = play(carried, [camera_row(0.0, 0.0, 0.0, 0.3)] + [camera_row(0.0, 0.0, 0.05)] * 8)
    edge = (picture[0, 0] > 0).sum(dim=0).float()  # rows of sky in each column
    known = edge[WIDTH // 2:]  # the right half was in the first view
    assert known.max() - known.min() <= 2.5 and HEIGHT * 0.6 < known.mean() < HEIGHT


@pytest.mark.parametrize("pitch", [0.0, 0.3])
def test_walking_goes_level_wherever_the_eyes_look(motion: CameraMotion, pitch: float) -> None:
    """Ahead and back again, turned aside in between: the place is the first one, lifted head or not."""
    picture, carried = smooth_picture(8), surroundings(motion, fade_m=1e9)
    carried.show(picture)
    look, walk = [camera_row(0.0, 0.0, 0.0, pitch)], [camera_row(0.1)] * 4
    turn, unwalk = [camera_row(0.0, 0.0, 0.4)], [camera_row(-0.1)] * 4
    returned, _ = play(carried, look + turn + walk + unwalk + back(turn) + back(look))
    inner = (..., slice(6, -6), slice(8, -8))
    assert (returned[inner] - picture[inner]).abs().mean() < 0.02


def test_the_bonnet_turns_with_the_car_and_leaves_no_trace_on_the_map(motion: CameraMotion) -> None:
    controls = dataclasses.replace(CONTROLS, bonnet=(0.2, 0.7))
    codec = MiniCodec(motion_codec())
    fit_linear(codec, torch.rand(50, 3, HEIGHT, WIDTH) * 2 - 1)
    car = CameraMotion(codec, torch.ones(8), WIDTH, HEIGHT, controls, coverage=True)
    carried = Surroundings(car, car.paint, 0.0, 8.0, controls, HEIGHT, WIDTH)
    painted = car.hides(car._pixels - torch.tensor([0.0, 2 / HEIGHT]))  # a pixel inside its outline, as worlds have it
    picture = torch.where(painted, 1.0, -0.5).expand(1, 3, -1, -1)
    carried.show(picture)
    for _ in range(4):
        anchor = carried.expect(torch.from_numpy(TURN)[None, None])
        assert torch.equal(carried._moved[0, 0][:, car.on_bonnet], picture[0][:, car.on_bonnet])
        carried.show(carried._moved[:, 0])
    assert anchor.shape == (1, 1, 9, HEIGHT // 8, WIDTH // 8)
    assert carried._map[0, :3].max() <= 0  # bright paint nowhere: land is dark, and what was never seen is 0


@pytest.mark.parametrize(("fov_deg", "aspect", "pitch_deg"), [
    (60.0, 4 / 3, 0.0), (60.0, 4 / 3, 25.7), (90.0, 16 / 9, 30.0), (100.0, 16 / 9, 60.0)])
def test_farthest_is_what_a_walk_round_the_edge_of_the_lifted_view_finds(fov_deg: float, aspect: float,
                                                                        pitch_deg: float) -> None:
    tangent, pitch = math.tan(math.radians(fov_deg) / 2), math.radians(pitch_deg)
    elevations, azimuths = [], []
    for u in torch.linspace(-1, 1, 201).tolist():
        for v in torch.linspace(-1, 1, 201).tolist():
            x, y, z = u * tangent * aspect, v * tangent, 1.0  # y up
            y, z = y * math.cos(pitch) + z * math.sin(pitch), z * math.cos(pitch) - y * math.sin(pitch)
            elevations.append(math.atan2(y, math.hypot(x, z)))
            azimuths.append(abs(math.atan2(x, z)))
    elevation, azimuth = _farthest(tangent, aspect, pitch_deg)
    assert azimuth == pytest.approx(max(azimuths), abs=0.02)
    assert elevation == pytest.approx(min(max(elevations), math.pi / 2 - math.radians(4)), abs=0.02)


@pytest.mark.parametrize("frames", [2, 4])
def test_a_chunk_of_several_frames_turns_into_nothing_that_was_never_painted(motion: CameraMotion, frames: int) -> None:
    carried = Surroundings(motion, motion.paint, 0.0, 8.0, CONTROLS, HEIGHT, WIDTH, chunk_frames=frames)
    picture = smooth_picture(3) * 0.1 + 0.8
    carried.show(picture)
    carried.expect(torch.from_numpy(TURN).expand(1, frames, 12))  # as far as the controls turn
    assert carried._moved.min() > 0.5, "grey is what nobody has painted"


def naive_fold(half_deg: int) -> dict[int, int]:
    """Twin of `folded` in whole degrees: walk round from the right edge, turning back as often as it says."""
    beyond = 360 - 2 * half_deg
    to_right = (beyond - 2 * half_deg) // 2
    count = next(n for n in range(1, 99) if 2 * half_deg * n >= to_right)
    right, left = to_right / count, (to_right + 2 * half_deg) / (count + 1)
    assert right == int(right) and left == int(left), "the twin knows whole degrees alone"
    at, found, ways = half_deg, {half_deg: half_deg}, [-int(left), int(right)] * count + [-int(left)]
    azimuth = half_deg
    for way in ways:
        for _ in range(abs(way)):
            azimuth, at = azimuth + 1, at + (1 if way > 0 else -1)
            found[azimuth if azimuth <= 180 else azimuth - 360] = at
    return found


@pytest.mark.parametrize("half_deg", [30, 45, 60, 78])
def test_what_is_known_goes_on_as_in_a_mirror_and_meets_itself(half_deg: int) -> None:
    twin = naive_fold(half_deg)
    assert twin[-half_deg] == -half_deg and max(map(abs, twin.values())) <= half_deg
    azimuth = torch.tensor(sorted(twin), dtype=torch.float64).deg2rad()
    ours = folded(azimuth, math.radians(half_deg)).rad2deg()
    assert torch.allclose(ours, torch.tensor([twin[a] for a in sorted(twin)], dtype=torch.float64), atol=1e-6)


@pytest.mark.parametrize("columns", range(100, 620, 2))
def test_half_a_horizon_is_folded_whatever_it_rounds_to(columns: int) -> None:
    half_rad = (columns // 2) / 2 * (2 * math.pi / columns)
    source = folded(torch.linspace(-math.pi, math.pi, 40), half_rad)
    assert source.isfinite().all() and source.abs().max() <= half_rad + 1e-5


@pytest.mark.parametrize("half_deg", [5.0, 37.3, 80.0, 89.0, 90.0, 91.0, 120.0, 179.0])
def test_a_fold_leaves_what_is_known_and_is_continuous(half_deg: float) -> None:
    azimuth = torch.linspace(-180, 180, 7201, dtype=torch.float64).deg2rad()
    source = folded(azimuth, math.radians(half_deg)).rad2deg()
    known = azimuth.rad2deg().abs() <= half_deg - 0.1
    assert torch.allclose(source[known], azimuth[known].rad2deg(), atol=1e-6)
    assert source.abs().max() <= half_deg + 1e-6
    jumps = source.diff().abs() > 0.051
    assert int(jumps.sum()) == 0  # where half the horizon is known, two mirrors meet behind, at the ends of this list
    assert half_deg > 90 or source[0] == pytest.approx(source[-1].item(), abs=1e-6)


def level_of_who_turned_round(motion: CameraMotion) -> torch.Tensor:
    """The map's row at the horizon, (4, columns), after turns to 120 degrees."""
    carried = surroundings(motion, imagines=True)
    carried.show(smooth_picture(11))
    for _ in range(6):
        _, coverage = play(carried, [TURN])
        assert coverage.mean() > 0.96 and coverage[0, 1:-1].min() == 1.0  # slivers above and below were in no view
    return carried._map[0, :, carried._rows // 2]


def test_who_turns_round_sees_the_place_mirrored_and_softer_by_a_share(motion: CameraMotion, monkeypatch) -> None:
    soft = level_of_who_turned_round(motion)
    monkeypatch.setattr(surroundings_module, "SOFT", 0.0)
    level = level_of_who_turned_round(motion)
    assert (level[3] > KNOWN).all() and (soft[3] > KNOWN).all()
    middle = level.shape[1] // 2
    half = int(level.shape[1] * math.atan(math.tan(math.radians(30)) * WIDTH / HEIGHT) / (2 * math.pi))
    # Left of the view's left edge, which lies within a column or two of what the angles say, is its mirror image.
    wrong = [(level[:3, edge - half // 2:edge].flip(-1) - level[:3, edge:edge + half // 2]).abs().mean()
             for edge in range(middle - half - 2, middle - half + 3)]
    assert min(wrong) < 0.01 and (level[:3, :-half] - level[:3, half:]).abs().mean() > 0.1
    beyond = slice(middle - 2 * half, middle - half - 2)
    deviation = [x[:3, beyond].std(dim=1).mean() for x in (soft, level)]
    assert 0.7 * deviation[1] < deviation[0] < 0.97 * deviation[1]


def test_what_is_imagined_is_the_same_for_who_comes_back_to_it(motion: CameraMotion) -> None:
    carried = surroundings(motion, imagines=True)
    carried.show(smooth_picture(12))
    there, _ = play(carried, [TURN] * 6)
    again, _ = play(carried, back([TURN] * 6) + [TURN] * 6)
    assert (again - there).abs().mean() < 0.01
    round_once, _ = play(carried, [TURN] * 18)
    assert (round_once - there).abs().mean() < 0.02


def test_only_the_streams_that_need_it_imagine(motion: CameraMotion) -> None:
    pictures, together = smooth_picture(13, batch=2), surroundings(motion, imagines=True)
    together.show(pictures)
    alone = [surroundings(motion, imagines=True) for _ in range(2)]
    for index, carried in enumerate(alone):
        carried.show(pictures[index:index + 1])
    for rows in [(TURN, camera_row())] * 3 + [(camera_row(0.5), camera_row(0.0, 0.0, -0.3))] * 3 + [(TURN, TURN)] * 4:
        anchor = together.expect(torch.stack([torch.from_numpy(row) for row in rows])[:, None])
        made, _ = together.paint_over(anchor[:, :, :8])
        for index, carried in enumerate(alone):
            own, _ = play(carried, [rows[index]])
            assert torch.allclose(made[index:index + 1, 0], own, atol=1e-4)


def test_walking_on_imagines_anew_from_what_is_seen_by_then(motion: CameraMotion) -> None:
    """After a way in which all that was out of view has faded nothing but the view is left to imagine from."""
    carried = surroundings(motion, fade_m=0.5, imagines=True)
    carried.show(smooth_picture(14))
    play(carried, [TURN])
    play(carried, [camera_row(0.2)] * 10)
    before = carried._map.clone()
    carried.show(smooth_picture(15))  # another place
    _, coverage = play(carried, [TURN])
    assert coverage.mean() > 0.9
    behind = slice(0, carried._columns // 8)
    changed = (carried._map[0, :3, carried._rows // 2, behind] - before[0, :3, carried._rows // 2, behind]).abs()
    assert changed.mean() > 0.1


def test_who_looks_past_what_is_known_imagines_from_the_nearest_of_it(motion: CameraMotion) -> None:
    """A turn by more than half the view at once, so that its middle was in no view."""
    carried = surroundings(motion, imagines=True)
    carried.show(smooth_picture(16))
    _, coverage = play(carried, [camera_row(0.0, 0.0, math.radians(70))])
    assert coverage[0, 1:-1].min() == 1.0
