"""The drill: break everything while answers are written, and check that no character was lost.

| module | what it does |
| --- | --- |
| `local_run`, `remote_run` | one drill, on servers of its own or against a deployment |
| `questions` | what is asked: a pure function of a seed |
| `clients` | a process that asks (`client`) and reads (`answer_reader`, `reading`, `rendezvous`) |
| `fleet` | servers, web masters and workers, started again when they end |
| `scheduler` | injects `faults`, in the order of `fault_sequence`, and polls the `database_probe` |
| `verifier` | compares what was seen, what Postgres has and what the provider sent |
| `report`, `percentiles` | count and print |
"""
