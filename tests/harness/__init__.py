"""What the tests share: a gateway as a separate process, raw peers, frame builders."""
