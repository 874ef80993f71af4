ALTER TABLE `meta` ADD `rebuilding` integer DEFAULT false NOT NULL;--> statement-breakpoint
ALTER TABLE `meta` ADD `gap_before` integer;