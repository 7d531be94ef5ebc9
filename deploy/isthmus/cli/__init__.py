"""The ``isthmus`` command: people's side of the API, and the way to labs, benchmarks and processes."""

__all__: list[str] = []
