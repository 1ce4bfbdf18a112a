"""Dull twins of a place in depth: what is met, what stands in the way, and how all goes on as in mirrors."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from astra_play.codec.distances import Distances
from astra_play.config import ControlsConfig
from astra_play.model.footing import KNEE_M
from astra_play.model.panorama import STEEP, UP
from astra_play.model.place import SMOOTH_M, Place
from astra_play.model.surroundings import folded
from astra_play.model.tiling import Tiling
from astra_play.model.walls import FACE_COLUMNS, NUM_HALVINGS


def naive_components(front_m: torch.Tensor, alike: float) -> torch.Tensor:
    """What hangs together in one (rows, columns): every thing is flooded from its first cell, numbered from 0."""
    labels, count = torch.full(front_m.shape, -1, dtype=torch.int64), 0
    for start in front_m.isfinite().nonzero().tolist():
        if labels[tuple(start)] >= 0:
            continue
        ahead, labels[tuple(start)] = [tuple(start)], count
        while ahead:
            row, column = ahead.pop()
            for beside in ((row - 1, column), (row + 1, column), (row, column - 1), (row, column + 1)):
                if 0 <= beside[0] < front_m.shape[0] and 0 <= beside[1] < front_m.shape[1] and labels[beside] < 0 and (
                        abs(math.log(front_m[beside]) - math.log(front_m[row, column])) < alike):
                    labels[beside] = count
                    ahead.append(beside)
        count += 1
    return labels


def naive_ways(place: Place, yaw_rad: float) -> list[tuple[float, float]]:
    """Where the columns of a level view turned `yaw_rad` to the left go to the right and ahead of the start for every
    metre."""
    cos, sin = math.cos(yaw_rad), math.sin(yaw_rad)
    return [(across * cos - sin, across * sin + cos) for across in place._across.tolist()]


def naive_mirrored(place: Place, things: list[tuple[float, float, float]]) -> list[tuple[int, float, float, int]]:
    """Where around the start the panorama shows the middles of things (azimuth, width, distance): number, metres right
    and ahead, and 1, or -1 where it is the wrong way round."""
    around = torch.linspace(-math.pi, math.pi, 7201)
    shown, found = [naive_shown(place_rad, place.tiling) for place_rad in around.tolist()], []
    for number, (azimuth, _, away) in enumerate(things):
        for place_rad, own, next_to in zip(around.tolist(), shown[:-1], shown[1:], strict=False):
            if min(own, next_to) <= azimuth < max(own, next_to) and abs(next_to - own) <= 2e-3:
                side = 1 if next_to > own else -1
                middle = place_rad + side * (azimuth - own)
                found.append((number, away * math.sin(middle), away * math.cos(middle), side))
    return found


def planted_in(place: Place, batch_index: int) -> list[tuple[int, float, float, int]]:
    """Where things of one of the batch stand: label, metres right and ahead of the start, and 1 or -1."""
    copies = place.billboards._copies
    every = zip(*(own.tolist() for own in (copies.of, copies.thing, copies.right_m, copies.ahead_m, copies.side)),
                strict=True)
    return [tuple(stand) for of, *stand in every if of == batch_index]


def naive_billboards(place: Place, eye: tuple[float, float, float], things: list[tuple[float, float, float]],
                     batch_index: int, first_thing: int, solid: bool) -> list[list[float]]:
    """How far ahead each pixel of a level view from `eye` meets a billboard, rows of columns, inf for none.

    `things`: azimuth, width and distance of all narrow things of the panorama. Each stands wherever it is planted, and
    in all tiles nearby, as a wall at right angles to the line of sight.
    """
    right_m, ahead_m, yaw_rad = eye
    panorama, reach = place.panorama, place._reach_m
    walls = []
    for label, x, z, side in planted_in(place, batch_index):
        for i in range(-3, 4):
            for j in range(-3, 4):
                number = label - first_thing
                walls.append((number, 2 * reach * i + (-x if i % 2 else x), 2 * reach * j + (-z if j % 2 else z),
                              side * (-1) ** (i + j), *things[number]))
    walls = [wall for wall in walls if math.hypot(wall[1] - right_m, wall[2] - ahead_m) < 1.5 * reach]
    met = []
    for down in place._down.tolist():
        met.append([])
        for step_x, step_z in naive_ways(place, yaw_rad):
            nearest = math.inf
            for number, x, z, side, azimuth, width, away in walls:
                off_m = math.hypot(x - right_m, z - ahead_m)
                towards = (step_x * (x - right_m) + step_z * (z - ahead_m)) / off_m
                if towards <= 1e-6 or off_m <= 0.5:
                    continue
                along = off_m / towards
                aside = along * (step_x * (z - ahead_m) - step_z * (x - right_m)) / off_m
                if abs(aside) > width / 2 or along * math.hypot(step_x, step_z) >= reach or along >= nearest:
                    continue
                turned = math.atan(side * aside / away)
                row = int(panorama.row_of(torch.tensor(down * along * math.cos(turned) / away)))
                column = int(panorama.column_of(torch.tensor(azimuth + turned)))
                if place.billboards.labels[batch_index, row, column] == first_thing + number and (
                        not solid or panorama.things[batch_index, 3, row, column] > 0.5):
                    nearest = along
            met[-1].append(nearest)
    return met


def naive_clearance_m(place: Place, point: tuple[float, float], batch_index: int) -> float:
    """How far a point (metres right and ahead of the start, in the first tile) is from what stands between knee and
    eye: every place of every direction is laid out, from its front to its back, mirrored as the panorama goes on."""
    panorama, nearest = place.panorama, math.inf
    down = panorama.down.tolist()
    spans, trunks = [], {}
    for column in range(panorama.columns):
        spans.append([])
        for row in range(panorama.rows):
            front = float(panorama.solid_front_m[batch_index, row, column])
            if KNEE_M < place._eye_m - down[row] * front < place._eye_m:
                label = int(place.billboards.labels[batch_index, row, column])
                if label < 0:
                    spans[-1].append((front, float(panorama.back_m[batch_index, row, column])))
                else:
                    trunks.setdefault(label, []).append(column)
    for half_degrees in range(720):
        azimuth = math.radians(half_degrees / 2 - 180)
        shown, beside = (naive_shown(own, place.tiling) for own in (azimuth, azimuth + 1e-3))
        column = int(panorama.column_of(torch.tensor(shown)))
        azimuth += math.copysign(1.0, beside - shown) * (float(panorama.azimuth[column]) - shown)
        if abs(naive_shown(azimuth, place.tiling) - float(panorama.azimuth[column])) > 1e-3:
            continue  # a mirror lies between
        along = point[0] * math.sin(azimuth) + point[1] * math.cos(azimuth)
        for front, back in spans[column]:
            away = min(max(along, front), back)
            nearest = min(nearest, math.hypot(away * math.sin(azimuth) - point[0], away * math.cos(azimuth) - point[1]))
    return min(nearest, naive_trunks_m(place, point, batch_index, trunks))


def naive_trunks_m(place: Place, point: tuple[float, float], batch_index: int, trunks: dict[int, list[int]]) -> float:
    """How far a point is from the trunks of what is planted, each as wide as the columns that it fills."""
    copies, nearest = place.billboards._copies, math.inf
    middles = dict(zip(copies.thing.tolist(), zip(copies.azimuth.tolist(), copies.away_m.tolist(), strict=True),
                       strict=True))
    for label, x, z, side in planted_in(place, batch_index):
        if label not in trunks:
            continue
        azimuth, away = middles[label]
        width = 2 * place.panorama.half_rad / place.panorama.columns
        first, last = (edge * width - place.panorama.half_rad - azimuth
                       for edge in (min(trunks[label]), max(trunks[label]) + 1))
        for share in range(101):
            off = side * away * (math.tan(first) + share / 100 * (math.tan(last) - math.tan(first))) / math.hypot(x, z)
            nearest = min(nearest, math.hypot(x + off * z - point[0], z - off * x - point[1]))
    return nearest


def naive_first_met(place: Place, eye: tuple[float, float, float], batch_index: int) -> list[list[float]]:
    """How far ahead each pixel of a level view from `eye` (metres right and ahead of the start, radians to the left)
    meets something that stands, rows of columns: every sample of every ray is looked at, the nearest first, and the way
    to it from the one before is halved."""
    right_m, ahead_m, yaw_rad = eye
    panorama, samples, reach = place.walls.panorama, place.walls._samples_m.tolist(), place._reach_m

    def from_start(x: float, z: float) -> tuple[float, float]:
        """Azimuth in the panorama and distance of a point."""
        x, z = naive_tiled(x, reach), naive_tiled(z, reach)
        return naive_shown(math.atan2(x, z), place.tiling), math.hypot(x, z)

    def reached(ray: tuple[float, float, float], along: float) -> tuple[float, int, int, float]:
        """Distance from the start, row, column, and how far down, of a point of a ray."""
        azimuth, away = from_start(right_m + along * ray[0], ahead_m + along * ray[1])
        down = ray[2] * along / away
        return away, int(panorama.row_of(torch.tensor(down))), int(panorama.column_of(torch.tensor(azimuth))), down

    fronts, backs, shares = (own[batch_index].tolist() for own in (
        panorama.front_m, panorama.back_m, panorama.things[:, 3]))

    def wall(row: int, column: int) -> tuple[float, float]:
        is_rim = math.hypot(right_m, ahead_m) >= SMOOTH_M / 2 and shares[row][column] <= 0.5
        return math.inf if is_rim else fronts[row][column], backs[row][column]

    def is_one_face(row: int, column: int, other: int) -> bool:
        """Whether all columns between two show what goes on as far away, and no rim where rims do not count."""
        if math.inf in (wall(row, column)[0], wall(row, other)[0]) or abs(column - other) > FACE_COLUMNS:
            return False
        logs = [math.log(own) for own in fronts[row][min(column, other):max(column, other) + 1]]
        return all(abs(one - next_to) < math.log(1 + STEEP) for one, next_to in zip(logs, logs[1:], strict=False))

    def meets(soon: tuple[float, int, int, float], late: tuple[float, int, int, float]) -> tuple[bool, float]:
        """Whether something is met on the way between two points, and the share of it that lies before."""
        soon_away, late_away, row = soon[0], late[0], late[1]
        late_front, late_back = wall(row, late[2])
        same = is_one_face(row, soon[2], late[2])
        soon_front, soon_back = wall(row, soon[2]) if same else (late_front, late_back)
        through = same and (soon_away < soon_front and late_away >= late_front
                            or soon_away >= soon_back and late_away < late_back)
        is_met = through or late_front <= max(soon_away, late_away) and min(soon_away, late_away) < late_back
        return is_met, share_before(soon_away, late_away, (soon_front, soon_back), (late_front, late_back))

    def share_before(soon_away: float, late_away: float, soon_wall: tuple[float, float], late_wall: tuple[float, float]
                     ) -> float:
        (soon_front, soon_back), (late_front, late_back) = soon_wall, late_wall
        if soon_front <= soon_away < soon_back:
            return 1.0
        soon_face, late_face = (soon_back, late_back) if soon_away >= soon_back else (soon_front, late_front)
        way = soon_away - soon_face - late_away + late_face
        return min(max((soon_away - soon_face) / way, 0.0), 1.0) if abs(way) > 1e-6 else 0.0

    def first_met(ray: tuple[float, float, float]) -> float:
        soon, before = samples[0], reached(ray, samples[0])
        for late in samples:
            if late * math.hypot(*ray[:2]) >= reach:
                break
            now = reached(ray, late)
            if now[3] > -UP and meets(before, now)[0]:
                for _ in range(NUM_HALVINGS):
                    middle = (soon + late) / 2
                    sooner = meets(reached(ray, soon), reached(ray, middle))[0]
                    soon, late = (soon, middle) if sooner else (middle, late)
                ends = reached(ray, soon), reached(ray, late)
                is_known = all(end[3] > -UP for end in ends)
                return soon + (late - soon) * meets(*ends)[1] if is_known else math.inf
            soon, before = late, now
        return math.inf

    return [[first_met((*way, down)) for way in naive_ways(place, yaw_rad)] for down in place._down.tolist()]


def naive_without_kerbs(distances: Distances, controls: ControlsConfig, low_m: float, alike: float, index: int
                        ) -> list[list[bool]]:
    """What is left standing, rows of columns: what is low, and does not go on up to `low_m`, is not."""
    height, width = distances.stands.shape[2:]
    tangent, pitch = math.tan(math.radians(controls.vertical_fov_deg) / 2), float(distances.pitch_rad[index])
    stands, metres = ((own[index, 0].tolist()) for own in (distances.stands, distances.distance_m))
    left = []
    for row in range(height):
        left.append([])
        for column in range(width):
            y, x = ((row + 0.5) / height * 2 - 1) * tangent, ((column + 0.5) / width * 2 - 1) * tangent * width / height
            ahead = math.cos(pitch) + y * math.sin(pitch)
            down = (y * math.cos(pitch) - math.sin(pitch)) / math.hypot(ahead, x)
            missing_m = low_m - (controls.eye_height_m - down * metres[row][column])
            higher = row - min(max(math.ceil(missing_m * height / 2 / tangent / metres[row][column]), 1), height)
            goes_on = higher < 0 or (stands[higher][column] > 0.5 and abs(
                math.log(metres[higher][column] / metres[row][column])) < alike)
            left[-1].append(stands[row][column] > 0.5 and (goes_on or missing_m <= 0))
    return left


def naive_without_shreds(distances: Distances, controls: ControlsConfig, limits: dict[str, float], index: int
                         ) -> list[list[bool]]:
    """What is left standing, rows of columns: thing after thing is flooded, and whether it is a shred is asked of each
    of its pixels."""
    height, width = distances.stands.shape[2:]
    tangent, pitch = math.tan(math.radians(controls.vertical_fov_deg) / 2), float(distances.pitch_rad[index])
    left = (distances.stands[index, 0] > 0.5).tolist()
    stands, metres = (distances.stands[index, 0] > 0.5).tolist(), distances.distance_m[index, 0].tolist()
    flooded: set[tuple[int, int]] = set()
    for begin in ((row, column) for row in range(height) for column in range(width)):
        if not stands[begin[0]][begin[1]] or begin in flooded:
            continue
        thing, to_do = {begin}, [begin]
        while to_do:
            row, column = to_do.pop()
            for other in ((row - 1, column), (row + 1, column), (row, column - 1), (row, column + 1)):
                if other not in thing and 0 <= other[0] < height and 0 <= other[1] < width and (
                        stands[other[0]][other[1]]) and abs(math.log(
                            metres[other[0]][other[1]] / metres[row][column])) < limits["alike"]:
                    thing.add(other)
                    to_do.append(other)
        flooded |= thing
        rests = False
        for row, column in thing:
            y, x = ((row + 1) / height * 2 - 1) * tangent, ((column + 0.5) / width * 2 - 1) * tangent * width / height
            down = (y * math.cos(pitch) - math.sin(pitch)) / math.hypot(math.cos(pitch) + y * math.sin(pitch), x)
            rests |= controls.eye_height_m - down * metres[row][column] <= limits["hangs_m"]
            rests |= row in (0, height - 1) or column in (0, width - 1)
            if not rests:
                on_bonnet = (row + 1.5) / height * 2 - 1 > controls.bonnet_top((column + 0.5) / width * 2 - 1)
                rests = on_bonnet or stands[row + 1][column] and (row + 1, column) not in thing
        columns = [column for _, column in thing]
        wide_m = (max(columns) - min(columns) + 1) * 2 * tangent / height * min(metres[r][c] for r, c in thing)
        if not rests and wide_m < limits["narrow_m"]:
            for row, column in thing:
                left[row][column] = False
    return left


def naive_shown(azimuth: float, tiling: Tiling) -> float:
    """Where a direction's likeness is seen within `half_rad` of straight ahead: on a road in a mirror across, then in
    mirrors at both edges."""
    if not tiling.is_road:
        return float(folded(torch.tensor([azimuth]), tiling.half_rad))  # whose twin is in test_surroundings.py
    return naive_tiled(math.atan2(math.sin(azimuth), abs(math.cos(azimuth))), tiling.half_rad)


def naive_ground(point: tuple[float, float], tiling: Tiling) -> tuple[float, float]:
    """Which ground of the start picture is laid at a point (metres right and ahead, in the first tile and not behind):
    azimuth and distance. Step by step ahead to the picture's edge, and as far again."""
    x, z = point
    edge = z
    while edge < 2 * tiling.reach_m and abs(math.atan2(x, edge)) > tiling.half_rad:
        edge += 0.001
    if edge + (edge - z) < tiling.reach_m:
        return math.atan2(x, edge + (edge - z)), math.hypot(x, edge + (edge - z))
    return naive_shown(math.atan2(x, z), tiling), math.hypot(x, z)


def naive_tiled(metres: float, half_m: float) -> float:
    """Go back from mirror to mirror until within the first tile."""
    while abs(metres) > half_m:
        metres = math.copysign(2 * half_m, metres) - metres
    return metres


def naive_upright(stands: Tensor, guess: Tensor, foot: Tensor, limits: dict[str, float],
                  controls: ControlsConfig) -> Tensor:
    """Logarithms of distances (H, W) that agree best with a guess, their neighbours and the feet: every equation of the
    least squares problem is written down in a matrix, which is solved. `foot` (H, W) is inf where there is no ground
    to be seen."""
    height, width = guess.shape
    index = torch.arange(height * width).view(height, width)
    matrix, right = torch.zeros(height * width, height * width).double(), torch.zeros(height * width).double()

    def add(i: int, strength: float, wanted: float) -> None:
        matrix[i, i] += strength
        right[i] += strength * wanted

    for row in range(height):
        for column in range(width):
            i, own = int(index[row, column]), float(guess[row, column])
            if not stands[row, column]:
                add(i, 1.0, own)
                continue
            x, y_below = (column + 0.5) / width * 2 - 1, (row + 1.5) / height * 2 - 1
            on_ground = row + 1 < height and not stands[row + 1, column] and y_below <= controls.bonnet_top(x)
            if on_ground and abs(float(foot[row, column]) - own) < limits["believed"]:
                add(i, limits["guess"] + limits["foot"], float(foot[row, column]))
            else:
                add(i, limits["guess"], own)
            for down, across, alike, strength in ((1, 0, limits["alike_down"], limits["down"]),
                                                  (0, 1, limits["alike_across"], limits["across"])):
                if row + down >= height or column + across >= width or not stands[row + down, column + across]:
                    continue
                if abs(float(guess[row + down, column + across]) - own) < alike:
                    j = int(index[row + down, column + across])
                    matrix[i, i] += strength
                    matrix[j, j] += strength
                    matrix[i, j] -= strength
                    matrix[j, i] -= strength
    return torch.linalg.solve(matrix, right).view(height, width)


def naive_crisp(picture: torch.Tensor, times: int, edge: float, bends: float) -> torch.Tensor:
    """One picture (3, H, W) whose edges are narrowed, pixel by pixel."""
    _, height, width = picture.shape

    def around(row: int, column: int, far: int) -> list[tuple[int, int]]:
        return [(y, x) for y in range(max(row - far, 0), min(row + far + 1, height))
                for x in range(max(column - far, 0), min(column + far + 1, width))]

    for _ in range(times):
        before, picture = picture, picture.clone()
        light = before.mean(dim=0)
        for row in range(height):
            for column in range(width):
                near = around(row, column, 1)
                lightest, darkest = (most(near, key=lambda at: float(light[at])) for most in (max, min))
                contrast = float(light[lightest] - light[darkest])
                wide = [float(light[at]) for at in around(row, column, 2)]
                over = float(light[row, column]) - sum(wide) / len(wide)
                chosen = lightest if over > 0 else darkest
                far = min(max(contrast / edge - 1, 0.0), 1.0) * min(abs(over) / max(bends * contrast, 1e-6), 1.0)
                picture[:, row, column] += far * (before[:, chosen[0], chosen[1]] - before[:, row, column])
    return picture
