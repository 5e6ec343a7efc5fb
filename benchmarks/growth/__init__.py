"""What bgproxy's CPU per request and memory do when everything around it grows."""
