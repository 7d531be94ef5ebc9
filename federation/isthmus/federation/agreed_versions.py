"""The newest agreement ever in force with each peer, in the store: replayed older ones fail after a restart, too.

Written before the first link under a version opens and never lowered, by whichever end of the tier is faster: a second
gateway behind the same name reads it at the next dial. A store that came back from a backup may know less than the
process does; then the process's word is written down again.
"""

from __future__ import annotations

from isthmus.contract.chain import AgreedVersion
from isthmus.contract.envelope import Stamp, seal, unseal
from isthmus.contract.errors import ValueRefused
from isthmus.contract.families import AGREEMENTS, G_AGREEMENTS
from isthmus.federation.errors import AgreementRefused
from isthmus.kv.port import Compare, Entry, KeyValueStore, Put, Target, Txn


def agreed_key(peer: str) -> str:
    """The same at a site and at a tier; each has its one writer."""
    key = AGREEMENTS.key(peer=peer)
    assert key == G_AGREEMENTS.key(peer=peer)
    return key


async def recall(store: KeyValueStore, peer: str) -> int:
    """The newest version that was in force with ``peer``, 0 when none was. What cannot be read refuses: to take it for
    none would let any old version in."""
    return _version(peer, await store.get(agreed_key(peer)))


async def record(
    store: KeyValueStore, peer: str, word: AgreedVersion, *, stamp: Stamp, as_of: float
) -> None:
    """Write ``word`` down unless the store knows as new a one; raises AgreementRefused when it knows a newer one."""
    key = agreed_key(peer)
    while True:
        entry = await store.get(key)
        known = _version(peer, entry)
        if known == word.version:
            return
        refuse_older(word.version, known)
        unchanged = Compare(key, Target.MOD_REVISION, 0 if entry is None else entry.mod_revision)
        put = Put(key, seal(word, stamp, as_of=as_of))
        if (await store.txn(Txn((unchanged,), (put,)))).succeeded:
            return


def refuse_older(version: int, newest: int) -> None:
    """Raises AgreementRefused for a ``version`` below the ``newest`` that was in force."""
    if version < newest:
        raise AgreementRefused(
            "agreement-older",
            f"version: {version}; version {newest} was in force: raise the version and sign again",
        )


def _version(peer: str, entry: Entry | None) -> int:
    if entry is None:
        return 0
    try:
        return unseal(entry.value, AgreedVersion).body.version
    except ValueRefused as refused:
        raise AgreementRefused(
            "agreement-malformed",
            f"agreements/{peer} in our own store cannot be read ({refused}); "
            "delete it when you know which version is in force",
        ) from None
