"""What a user imports: orchestrators are OS processes, handlers are the functions that their service tasks call."""

from dadms_orchestrators.handlers import BpmnError, Task, handler

__all__ = ["BpmnError", "Task", "handler"]
