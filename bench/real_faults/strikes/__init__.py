"""How each fault strikes. A strike returns when its cause is over; whether the stage recovers is seen after it."""
