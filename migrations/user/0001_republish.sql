DROP INDEX `outbox_unpublished_by_msg_id`;--> statement-breakpoint
CREATE INDEX `outbox_by_msg_id` ON `outbox` (`msg_id`);--> statement-breakpoint
ALTER TABLE `meta` ADD `repairing` integer DEFAULT false NOT NULL;--> statement-breakpoint
CREATE INDEX `known_by_seq` ON `known` (`seq`) WHERE seq > 0;