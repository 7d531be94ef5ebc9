from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Mode(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    MODE_UNSPECIFIED: _ClassVar[Mode]
    MODE_SNAPSHOT: _ClassVar[Mode]
    MODE_FOLLOW: _ClassVar[Mode]
    MODE_REPAIR: _ClassVar[Mode]

class Verb(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    VERB_UNSPECIFIED: _ClassVar[Verb]
    VERB_PUT: _ClassVar[Verb]
    VERB_DELETE: _ClassVar[Verb]
MODE_UNSPECIFIED: Mode
MODE_SNAPSHOT: Mode
MODE_FOLLOW: Mode
MODE_REPAIR: Mode
VERB_UNSPECIFIED: Verb
VERB_PUT: Verb
VERB_DELETE: Verb

class Frame(_message.Message):
    __slots__ = ("hello", "resume", "begin", "batch", "end", "ack", "beat", "compare", "bye")
    HELLO_FIELD_NUMBER: _ClassVar[int]
    RESUME_FIELD_NUMBER: _ClassVar[int]
    BEGIN_FIELD_NUMBER: _ClassVar[int]
    BATCH_FIELD_NUMBER: _ClassVar[int]
    END_FIELD_NUMBER: _ClassVar[int]
    ACK_FIELD_NUMBER: _ClassVar[int]
    BEAT_FIELD_NUMBER: _ClassVar[int]
    COMPARE_FIELD_NUMBER: _ClassVar[int]
    BYE_FIELD_NUMBER: _ClassVar[int]
    hello: Hello
    resume: Resume
    begin: Begin
    batch: Batch
    end: End
    ack: Ack
    beat: Beat
    compare: Compare
    bye: Bye
    def __init__(self, hello: _Optional[_Union[Hello, _Mapping]] = ..., resume: _Optional[_Union[Resume, _Mapping]] = ..., begin: _Optional[_Union[Begin, _Mapping]] = ..., batch: _Optional[_Union[Batch, _Mapping]] = ..., end: _Optional[_Union[End, _Mapping]] = ..., ack: _Optional[_Union[Ack, _Mapping]] = ..., beat: _Optional[_Union[Beat, _Mapping]] = ..., compare: _Optional[_Union[Compare, _Mapping]] = ..., bye: _Optional[_Union[Bye, _Mapping]] = ...) -> None: ...

class Hello(_message.Message):
    __slots__ = ("min_version", "max_version", "name", "beat_ms", "lost_after_ms")
    MIN_VERSION_FIELD_NUMBER: _ClassVar[int]
    MAX_VERSION_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    BEAT_MS_FIELD_NUMBER: _ClassVar[int]
    LOST_AFTER_MS_FIELD_NUMBER: _ClassVar[int]
    min_version: int
    max_version: int
    name: str
    beat_ms: int
    lost_after_ms: int
    def __init__(self, min_version: _Optional[int] = ..., max_version: _Optional[int] = ..., name: _Optional[str] = ..., beat_ms: _Optional[int] = ..., lost_after_ms: _Optional[int] = ...) -> None: ...

class Token(_message.Message):
    __slots__ = ("incarnation", "revision", "nonce_revision", "nonce")
    INCARNATION_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    NONCE_REVISION_FIELD_NUMBER: _ClassVar[int]
    NONCE_FIELD_NUMBER: _ClassVar[int]
    incarnation: str
    revision: int
    nonce_revision: int
    nonce: str
    def __init__(self, incarnation: _Optional[str] = ..., revision: _Optional[int] = ..., nonce_revision: _Optional[int] = ..., nonce: _Optional[str] = ...) -> None: ...

class Resume(_message.Message):
    __slots__ = ("token", "window_bytes", "buckets")
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    WINDOW_BYTES_FIELD_NUMBER: _ClassVar[int]
    BUCKETS_FIELD_NUMBER: _ClassVar[int]
    token: Token
    window_bytes: int
    buckets: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, token: _Optional[_Union[Token, _Mapping]] = ..., window_bytes: _Optional[int] = ..., buckets: _Optional[_Iterable[int]] = ...) -> None: ...

class Begin(_message.Message):
    __slots__ = ("stream", "seq", "mode", "at", "buckets")
    STREAM_FIELD_NUMBER: _ClassVar[int]
    SEQ_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    AT_FIELD_NUMBER: _ClassVar[int]
    BUCKETS_FIELD_NUMBER: _ClassVar[int]
    stream: int
    seq: int
    mode: Mode
    at: Token
    buckets: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, stream: _Optional[int] = ..., seq: _Optional[int] = ..., mode: _Optional[_Union[Mode, str]] = ..., at: _Optional[_Union[Token, _Mapping]] = ..., buckets: _Optional[_Iterable[int]] = ...) -> None: ...

class Item(_message.Message):
    __slots__ = ("verb", "key", "value", "revision")
    VERB_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    verb: Verb
    key: bytes
    value: bytes
    revision: int
    def __init__(self, verb: _Optional[_Union[Verb, str]] = ..., key: _Optional[bytes] = ..., value: _Optional[bytes] = ..., revision: _Optional[int] = ...) -> None: ...

class Batch(_message.Message):
    __slots__ = ("stream", "seq", "items", "through", "sent_at_ms", "proof")
    STREAM_FIELD_NUMBER: _ClassVar[int]
    SEQ_FIELD_NUMBER: _ClassVar[int]
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    THROUGH_FIELD_NUMBER: _ClassVar[int]
    SENT_AT_MS_FIELD_NUMBER: _ClassVar[int]
    PROOF_FIELD_NUMBER: _ClassVar[int]
    stream: int
    seq: int
    items: _containers.RepeatedCompositeFieldContainer[Item]
    through: int
    sent_at_ms: int
    proof: Token
    def __init__(self, stream: _Optional[int] = ..., seq: _Optional[int] = ..., items: _Optional[_Iterable[_Union[Item, _Mapping]]] = ..., through: _Optional[int] = ..., sent_at_ms: _Optional[int] = ..., proof: _Optional[_Union[Token, _Mapping]] = ...) -> None: ...

class End(_message.Message):
    __slots__ = ("stream", "seq", "through")
    STREAM_FIELD_NUMBER: _ClassVar[int]
    SEQ_FIELD_NUMBER: _ClassVar[int]
    THROUGH_FIELD_NUMBER: _ClassVar[int]
    stream: int
    seq: int
    through: int
    def __init__(self, stream: _Optional[int] = ..., seq: _Optional[int] = ..., through: _Optional[int] = ...) -> None: ...

class Ack(_message.Message):
    __slots__ = ("stream", "seq")
    STREAM_FIELD_NUMBER: _ClassVar[int]
    SEQ_FIELD_NUMBER: _ClassVar[int]
    stream: int
    seq: int
    def __init__(self, stream: _Optional[int] = ..., seq: _Optional[int] = ...) -> None: ...

class Beat(_message.Message):
    __slots__ = ("sent_at_ms", "stream", "seq", "through", "digest", "keys")
    SENT_AT_MS_FIELD_NUMBER: _ClassVar[int]
    STREAM_FIELD_NUMBER: _ClassVar[int]
    SEQ_FIELD_NUMBER: _ClassVar[int]
    THROUGH_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    KEYS_FIELD_NUMBER: _ClassVar[int]
    sent_at_ms: int
    stream: int
    seq: int
    through: int
    digest: bytes
    keys: int
    def __init__(self, sent_at_ms: _Optional[int] = ..., stream: _Optional[int] = ..., seq: _Optional[int] = ..., through: _Optional[int] = ..., digest: _Optional[bytes] = ..., keys: _Optional[int] = ...) -> None: ...

class Compare(_message.Message):
    __slots__ = ("stream", "seq", "buckets")
    STREAM_FIELD_NUMBER: _ClassVar[int]
    SEQ_FIELD_NUMBER: _ClassVar[int]
    BUCKETS_FIELD_NUMBER: _ClassVar[int]
    stream: int
    seq: int
    buckets: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, stream: _Optional[int] = ..., seq: _Optional[int] = ..., buckets: _Optional[_Iterable[int]] = ...) -> None: ...

class Bye(_message.Message):
    __slots__ = ("code", "detail")
    CODE_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    code: str
    detail: str
    def __init__(self, code: _Optional[str] = ..., detail: _Optional[str] = ...) -> None: ...
