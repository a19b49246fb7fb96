#!/usr/bin/env python
"""Copy an index of Pinecone into collections, or compare the two: the same as ``siltstone migrate pinecone``.

python scripts/migrate_pinecone_to_chroma.py receipts --dry-run --stage dev
python scripts/migrate_pinecone_to_chroma.py receipts --stage dev
python scripts/migrate_pinecone_to_chroma.py receipts --verify --namespace words --stage dev
"""

from __future__ import annotations

import sys

from siltstone_cli.main import app

if __name__ == "__main__":
    app(["migrate", "pinecone", *sys.argv[1:]], prog_name=sys.argv[0])
