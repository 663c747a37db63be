"""Why a metric can not be computed."""


class NotComputableError(RuntimeError):
    """Why a metric can not be computed here: which weights, package or data are missing, and how to give them."""
