"""claimstream: a scoring stage on Kafka for insurance claims."""
