class ChannelError(Exception):
    class Options(ChannelError):
        reason: str
        def __init__(self, reason: str) -> None: ...
    class NotJoined(ChannelError):
        reason: str
        def __init__(self, reason: str) -> None: ...
    class UnknownMessage(ChannelError):
        reason: str
        def __init__(self, reason: str) -> None: ...
    class TooLarge(ChannelError):
        reason: str
        def __init__(self, reason: str) -> None: ...
    class Full(ChannelError):
        reason: str
        def __init__(self, reason: str) -> None: ...
    class Refused(ChannelError):
        reason: str
        def __init__(self, reason: str) -> None: ...
    class Peer(ChannelError):
        reason: str
        def __init__(self, reason: str) -> None: ...
    class Store(ChannelError):
        reason: str
        def __init__(self, reason: str) -> None: ...
    class Network(ChannelError):
        reason: str
        def __init__(self, reason: str) -> None: ...
    class System(ChannelError):
        reason: str
        def __init__(self, reason: str) -> None: ...
    class Defect(ChannelError):
        reason: str
        def __init__(self, reason: str) -> None: ...

class StoreError(Exception):
    class Failed(StoreError):
        reason: str
        def __init__(self, reason: str) -> None: ...

class TransportError(Exception):
    class Unavailable(TransportError):
        reason: str
        def __init__(self, reason: str) -> None: ...
    class Refused(TransportError):
        reason: str
        def __init__(self, reason: str) -> None: ...

__all__ = ["ChannelError", "StoreError", "TransportError"]
