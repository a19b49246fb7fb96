"""Whether a stage can work: what is deployed, allowed and filled in. Reads only, and never a secret's value."""
