"""Plans, under the hash of their content, against which they are held when they are read: what somebody else has put
there is no plan.
"""

from __future__ import annotations

import json
import zlib
from collections import OrderedDict

from chalicelib.compiler.plan import Plan, hash_of
from chalicelib.foundation.errors import Downstream
from chalicelib.foundation.json_types import canonical
from chalicelib.store.blobs import Blobs

_KEPT = 32  # parsed plans in a warm Lambda


class PlanRepository:
    def __init__(self, blobs: Blobs) -> None:
        self._blobs = blobs
        self._parsed: OrderedDict[str, Plan] = OrderedDict()

    def put(self, plan: Plan) -> None:
        if plan.hash not in self._parsed:
            self._blobs.put_at(_key(plan.hash), zlib.compress(canonical(plan.to_json())))
            self._keep(plan.hash, plan)

    def get(self, plan_hash: str) -> Plan:
        """Raises ``Downstream`` for a plan that nobody has put."""
        if plan_hash not in self._parsed:
            text = zlib.decompress(self._blobs.get(_key(plan_hash)))
            if hash_of(text) != plan_hash:
                raise Downstream(f"The plan {plan_hash} is not what was put.")
            self._keep(plan_hash, Plan.from_json(json.loads(text)))
        return self._parsed[plan_hash]

    def _keep(self, plan_hash: str, plan: Plan) -> None:
        self._parsed[plan_hash] = plan
        while len(self._parsed) > _KEPT:
            self._parsed.popitem(last=False)


def _key(plan_hash: str) -> str:
    return f"plans/{plan_hash}.json.z"
