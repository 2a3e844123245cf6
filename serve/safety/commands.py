"""`ludocast keys`: who may call a server."""

from __future__ import annotations

from pathlib import Path

from ludocast.serve.safety.keys import KeyFile, new_key, read_keys

KEYS_FILE = "keys.json"


def keys_add(name: str, scopes: list[str] | None = None, rate: str | None = None, keys: str = KEYS_FILE) -> None:
    """Make a key for one client of `ludocast serve --keys FILE`.

    The key is printed once and kept nowhere: the file holds its hash. Clients send it as "Authorization: Bearer KEY".
    A server that runs takes the change up within a second.

    Example: ludocast keys add shop --scopes predict,jobs --rate 100/s

    Args:
        name: Of the client, as the access log shows it.
        scopes: What the key is good for: predict, admin, jobs, metrics; by default predict alone.
        rate: Most requests, such as 100/s, 1000/min or 5/h; by default as many as the client likes.
        keys: File of keys; is made if it is not there.
    """
    with KeyFile(Path(keys)) as file:
        if any(key.name == name for key in file.keys):
            raise ValueError(f'{keys} has a key "{name}"; give another name, or remove that one first')
        secret, key = new_key(name, ["predict"] if scopes is None else scopes, rate)
        file.keys.append(key)
    print(secret)


def keys_list(keys: str = KEYS_FILE) -> None:
    """List the clients that have a key: name, scopes, rate, when it was made.

    Args:
        keys: File of keys.
    """
    for key in read_keys(Path(keys)):
        print(f"{key.name:<24} {','.join(key.scopes):<28} {key.rate or 'no limit':<12} {key.created}")


def keys_remove(name: str, keys: str = KEYS_FILE) -> None:
    """Take a client's key away; a server that runs refuses it within a second.

    Args:
        name: Of the client.
        keys: File of keys.
    """
    with KeyFile(Path(keys)) as file:
        left = [key for key in file.keys if key.name != name]
        if len(left) == len(file.keys):
            raise ValueError(f'{keys} has no key "{name}"; `ludocast keys list` shows those it has')
        file.keys = left
