"""
What is written about who is told what; each module begins with what it does.

Endpoints: `endpoints`, and what belongs to them: `windows`, `portal`, `device_groups`,
`signing_keys`; `consenting` and `tokens` ask their servers. A message: `publishing`
writes it for its `audience`, in the places of `ordering`; `delivering` sends it to its
`destinations`. Again, or never: `deliveries`, `redelivering` and `requeueing`,
`manifests`, `orphans`, `retention`.
"""
