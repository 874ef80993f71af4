DROP INDEX `outbox_by_msg_id`;--> statement-breakpoint
CREATE INDEX `outbox_waiting` ON `outbox` (`msg_id`) WHERE published_at IS NULL;--> statement-breakpoint
CREATE INDEX `outbox_by_stream_seq` ON `outbox` (`stream_seq`) WHERE stream_seq > 0;--> statement-breakpoint
CREATE INDEX `fetch_queue_special` ON `fetch_queue` (`provider`,`inbox_id`) WHERE (attempts > 0 OR urgent);