"""The ``siltstone`` command: what an operator does with a deployed stage, or with the local stack."""
