"""The booth: profile, policy, supervisor and daily log of `kiosk`. Knows neither windows nor networks, so that a
supervisor stays small and outlives what it watches."""
