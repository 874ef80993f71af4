-- What waits in the outbox of a file that is older: the ledger names its rows from here on.
INSERT INTO `known` (`event_id`, `seq`, `waits`)
SELECT unhex(`msg_id`, '-'), 0, `id` FROM `outbox` WHERE `published_at` IS NULL AND unhex(`msg_id`, '-') IS NOT NULL
ON CONFLICT (`event_id`) DO UPDATE SET `waits` = excluded.`waits`;
