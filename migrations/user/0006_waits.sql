DROP INDEX `outbox_waiting`;--> statement-breakpoint
ALTER TABLE `known` ADD `waits` integer;