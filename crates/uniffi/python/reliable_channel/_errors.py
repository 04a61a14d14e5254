"""The errors. The generated file puts their kinds together as it is loaded, which type checkers do not see: _errors.pyi is for them."""

from ._generated import ChannelError, StoreError, TransportError

__all__ = ["ChannelError", "StoreError", "TransportError"]
