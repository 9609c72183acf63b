"""`turnout models`."""

from turnout.cli.terminal import note, say, show


def models(*, remove: str | None = None) -> int:
    """List the models that ship and those in the cache, or remove one from the cache.

    Parameters
    ----------
    remove
        Name of the model that is to go, as it is listed.
    """
    from turnout.hub.cache import Cache
    from turnout.hub.inventory import inventory
    from turnout.hub.inventory import remove as remove_model

    cache = Cache.of_environment()
    if remove is None:
        show(inventory(cache))
        note(f"cache: {cache.root}")
        return 0
    for line in remove_model(remove, cache, note):
        say(line)
    return 0
