"""Asks for two players. LUDOCAST_URL and LUDOCAST_KEY name another server and its key."""

import os

from ludocast.serve.client import Client

players = [
    {"level": 12, "country": "KR", "days_away": 3},
    {"level": 2, "country": None, "days_away": 20},
]
with Client(os.environ.get("LUDOCAST_URL", "http://127.0.0.1:8080"), os.environ.get("LUDOCAST_KEY")) as client:
    for player in client.predict(players).predictions:
        print(player["label"], f"{player['probability']:.4f}")
