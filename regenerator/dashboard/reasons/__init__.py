"""Why a host is not served, in words for people and for programs."""
