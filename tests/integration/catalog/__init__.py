"""The catalog on a real server: changes are ordered, and every router follows them, whatever happens on the way."""
