CREATE TABLE `email_received_events` (
	`event_id` text PRIMARY KEY NOT NULL,
	`ts` integer NOT NULL,
	`msg_date` integer,
	`provider` text NOT NULL,
	`inbox_id` text NOT NULL,
	`user_id` text NOT NULL,
	`provider_message_id` text NOT NULL,
	`provider_thread_id` text,
	`subject` text,
	`sender` text,
	`to_addrs` text,
	`cc_addrs` text,
	`bcc_addrs` text,
	`snippet` text,
	`headers_json` text,
	`labels_json` text,
	`truncated_json` text
);
--> statement-breakpoint
CREATE UNIQUE INDEX `email_by_provider_id` ON `email_received_events` (`provider`,`inbox_id`,`provider_message_id`);--> statement-breakpoint
CREATE TABLE `fetch_queue` (
	`seq` integer PRIMARY KEY AUTOINCREMENT NOT NULL,
	`provider` text NOT NULL,
	`inbox_id` text NOT NULL,
	`provider_message_id` text NOT NULL,
	`attempts` integer DEFAULT 0 NOT NULL,
	`reason` text,
	`next_at_ms` integer DEFAULT 0 NOT NULL,
	`urgent` integer NOT NULL
);
--> statement-breakpoint
CREATE UNIQUE INDEX `fetch_queue_by_provider_id` ON `fetch_queue` (`provider`,`inbox_id`,`provider_message_id`);--> statement-breakpoint
CREATE INDEX `fetch_queue_order` ON `fetch_queue` (`provider`,`inbox_id`,`urgent`,`seq`);--> statement-breakpoint
CREATE TABLE `known` (
	`event_id` blob PRIMARY KEY NOT NULL,
	`seq` integer NOT NULL
);
--> statement-breakpoint
CREATE TABLE `meta` (
	`user_id` text PRIMARY KEY NOT NULL,
	`epoch_era` integer NOT NULL,
	`epoch_rev` integer NOT NULL,
	`last_seq` integer DEFAULT 0 NOT NULL,
	`last_event_id` text,
	`stream_created_ms` integer,
	`stream_reset_ms` integer
);
--> statement-breakpoint
CREATE TABLE `outbox` (
	`id` integer PRIMARY KEY AUTOINCREMENT NOT NULL,
	`ts` integer NOT NULL,
	`subject` text NOT NULL,
	`event_type` text NOT NULL,
	`payload` blob NOT NULL,
	`msg_id` text NOT NULL,
	`published_at` integer,
	`retries` integer DEFAULT 0,
	`next_attempt_at` integer,
	`ts_ms` integer NOT NULL,
	`next_attempt_ms` integer DEFAULT 0 NOT NULL,
	`stream_seq` integer,
	`sha256` blob NOT NULL
);
--> statement-breakpoint
CREATE INDEX `outbox_unpublished` ON `outbox` (`id`) WHERE published_at IS NULL;--> statement-breakpoint
CREATE INDEX `outbox_unpublished_by_msg_id` ON `outbox` (`msg_id`) WHERE published_at IS NULL;--> statement-breakpoint
CREATE TABLE `provider_sync_state` (
	`provider` text NOT NULL,
	`inbox_id` text NOT NULL,
	`cursor` text,
	`last_synced_at` integer,
	`status` text,
	`last_error` text,
	`retry_count` integer DEFAULT 0,
	`updated_at` integer,
	PRIMARY KEY(`provider`, `inbox_id`)
);
--> statement-breakpoint
CREATE TABLE `sync_lanes` (
	`provider` text NOT NULL,
	`inbox_id` text NOT NULL,
	`lane` text NOT NULL,
	`cursor` text,
	`done` integer NOT NULL,
	`not_before_ms` integer NOT NULL,
	`failures` integer NOT NULL,
	`synced_ms` integer NOT NULL,
	`resets` integer NOT NULL,
	`reset_ms` integer NOT NULL,
	PRIMARY KEY(`provider`, `inbox_id`, `lane`)
);
