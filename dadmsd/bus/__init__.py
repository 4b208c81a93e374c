"""The bus: the only server that touches ZeroMQ. It binds both doors, keeps bounded queues, and carries envelopes whose bodies it never decodes."""
