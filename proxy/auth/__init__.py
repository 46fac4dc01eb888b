"""Who is calling: carriers find a credential, verifiers check it."""
