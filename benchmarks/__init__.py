"""What bgproxy costs and what a switch does to its clients, measured; nothing here is part of the product."""
