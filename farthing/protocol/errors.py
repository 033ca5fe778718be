"""The root of every error Farthing raises on purpose."""


class FarthingError(Exception):
    """Something a user can act on: ``str(error)`` is one clear sentence that says what to do.

    Children carry what is known about the failure as attributes, so that programs need not read
    the sentence.
    """
