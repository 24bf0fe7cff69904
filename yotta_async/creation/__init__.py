"""No pod is lost: creating, recovering, deleting, and the journal."""
