"""The commands over API keys: `topshelf keys create`, `list` and `revoke`."""

from pathlib import Path

import click

from serving.options import KEYS, STATE, STORE, keys_file_of


@click.group()
def keys() -> None:
    """Create, list and revoke API keys."""


@keys.command("create", epilog="Example: topshelf keys create --scope read --name web --rate 2000/second")
@click.option(
    "--scope",
    multiple=True,
    required=True,
    type=click.Choice(["read", "feed", "events", "admin", "metrics"]),
    help="What the key may do: get shelves (read), send items and events (feed), send events alone (events), erase "
    "and trace shoppers and get shelves (admin), get metrics alone (metrics). Repeat it for several.",
)
@click.option("--name", default="", help="A note on who uses the key.")
@click.option("--rate", default="2000/second", show_default=True, help="One rate limit, such as 100000/minute.")
@click.option(
    "--to",
    metavar="FILE",
    help="Write the key to this file instead of printing it. If it holds a valid key of these scopes, do nothing.",
)
@STORE
@STATE
@KEYS
def keys_create(
    *, scope: tuple[str, ...], name: str, rate: str, to: str | None, store: str, state: str | None, keys: str | None
) -> None:
    """Create a key and print it. It is shown only this once.

    Several keys can be valid at once. To rotate a key, create the next one, then revoke the old one.
    """
    from serving.api.keys import KeysError, create, create_into

    keys_file, scopes = keys_file_of(store, state, keys), tuple(dict.fromkeys(scope))
    try:
        if to is not None:
            written = create_into(Path(to), keys_file, scopes, name, rate)
            click.echo(f"{to} holds {f'the new key {written.id}' if written else 'a valid key'}", err=True)
            return
        stored, secret = create(keys_file, scopes, name, rate)
    except KeysError as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"{stored.id} ({', '.join(stored.scopes)}, {stored.rate}); the key is shown only this once:", err=True)
    click.echo(secret)


@keys.command("list", epilog="Example: topshelf keys list")
@STORE
@STATE
@KEYS
def keys_list(*, store: str, state: str | None, keys: str | None) -> None:
    """List id, scopes, rate, creation, state and name of each key. The keys themselves are not stored."""
    from serving.api.keys import KeysError, read_keys

    try:
        for key in read_keys(keys_file_of(store, state, keys)).keys:
            validity = f"revoked {key.revoked}" if key.revoked else "valid"
            click.echo(f"{key.id}\t{','.join(key.scopes)}\t{key.rate}\t{key.created}\t{validity}\t{key.name}")
    except KeysError as error:
        raise click.ClickException(str(error)) from error


@keys.command("revoke", epilog="Example: topshelf keys revoke k1a2b3c4d")
@click.argument("key_id", metavar="ID")
@STORE
@STATE
@KEYS
def keys_revoke(*, key_id: str, store: str, state: str | None, keys: str | None) -> None:
    """Revoke the key with this id. Workers refuse it within a second."""
    from serving.api.keys import KeysError, revoke

    try:
        revoke(keys_file_of(store, state, keys), key_id)
    except KeysError as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"{key_id} is revoked")
