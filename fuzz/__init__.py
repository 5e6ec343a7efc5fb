"""Any bytes are parsed or refused, and whatever is forwarded means the same to llhttp and to h11."""
