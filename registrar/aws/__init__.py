"""What AWS tells a container of itself: ECS task metadata, EC2 instance metadata.

No SDK: two endpoints of link-local addresses, asked with GET and one PUT. Documents are parsed
here, and nothing else knows their shape.
"""
