CREATE TABLE `pages` (
	`id` integer PRIMARY KEY NOT NULL,
	`provider` text NOT NULL,
	`inbox_id` text NOT NULL,
	`lane` text NOT NULL,
	`cursor` text,
	`next_cursor` text,
	`epoch_era` integer NOT NULL,
	`epoch_rev` integer NOT NULL,
	`at_ms` integer NOT NULL,
	`kept` integer DEFAULT false NOT NULL
);
--> statement-breakpoint
ALTER TABLE `email_received_events` ADD `page_id` integer;--> statement-breakpoint
ALTER TABLE `email_received_events` ADD `listed_by` integer;--> statement-breakpoint
ALTER TABLE `fetch_queue` ADD `error` text;--> statement-breakpoint
ALTER TABLE `fetch_queue` ADD `listed_by` integer;