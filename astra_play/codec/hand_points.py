"""Which points of a robot's hand are looked for in pictures of it: shared by the network and by the simulator's truth,
which must not wait for torch."""

# They move with the hand, (right, away, up) in metres from the point between its fingertips: that one, and some beside
# the fingers and at the palm, whose distances in the picture tell how near the hand is.
POINTS_M = ((0.0, 0.0, 0.0), (-0.06, 0.0, 0.03), (0.06, 0.0, 0.03), (-0.06, 0.0, 0.06), (0.06, 0.0, 0.06))
