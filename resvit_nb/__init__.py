__version__ = "0.2.0"


def __getattr__(name):
    "The names that people need, each imported when it is asked for: the package itself loads at once"
    from .commands import find_name
    return find_name(name)

def __dir__():
    from .commands import NAMES
    return sorted([*globals(), *NAMES])
