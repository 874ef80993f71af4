ALTER TABLE `known` ADD `mail` integer;--> statement-breakpoint
-- Both indexes of event ids are walked in their order, which is the same: 3 s for a million mails. The ids of files that are older are text.
UPDATE `known` SET `mail` = `e`.`rowid` FROM `email_received_events` AS `e` WHERE `known`.`event_id` = unhex(`e`.`event_id`, '-');--> statement-breakpoint
-- A primary key cannot be dropped, and to write a million mails anew takes 10 s. Its index becomes one like any other, and is dropped then:
-- what is in the file stays as it is, as in https://www.sqlite.org/lang_altertable.html#otheralter. Rowids stay, which tables of ours name.
PRAGMA writable_schema = ON;--> statement-breakpoint
UPDATE `sqlite_schema` SET `sql` = replace(`sql`, '`event_id` text PRIMARY KEY NOT NULL', '`event_id` text NOT NULL')
WHERE `type` = 'table' AND `name` = 'email_received_events';--> statement-breakpoint
UPDATE `sqlite_schema` SET `name` = 'email_by_event_id', `sql` = 'CREATE UNIQUE INDEX `email_by_event_id` ON `email_received_events` (`event_id`)'
WHERE `name` = 'sqlite_autoindex_email_received_events_1';--> statement-breakpoint
PRAGMA writable_schema = RESET;--> statement-breakpoint
DROP INDEX `email_by_event_id`;
