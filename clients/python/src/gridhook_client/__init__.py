"""Send callbacks to Gridhook, and verify the messages that it sends."""

from gridhook_client.completeness import (
    Missing,
    Seen,
    batch_answer,
    ids_hash,
    made_at,
    missing,
)
from gridhook_client.consent import challenge_answer, options_headers
from gridhook_client.messages import Message, Place, Unreadable
from gridhook_client.readings import Reading, body_of
from gridhook_client.replies import (
    Receipt,
    Refused,
    SendFailed,
    SignatureRefused,
    TransactionConflict,
    Undecided,
)
from gridhook_client.sending import Client, Patience
from gridhook_client.verifying import Batch, VerificationFailed, Verifier

__version__ = "0.1.0"
__all__ = [
    "Batch",
    "Client",
    "Message",
    "Missing",
    "Patience",
    "Place",
    "Reading",
    "Receipt",
    "Refused",
    "Seen",
    "SendFailed",
    "SignatureRefused",
    "TransactionConflict",
    "Undecided",
    "Unreadable",
    "VerificationFailed",
    "Verifier",
    "batch_answer",
    "body_of",
    "challenge_answer",
    "ids_hash",
    "made_at",
    "missing",
    "options_headers",
]
