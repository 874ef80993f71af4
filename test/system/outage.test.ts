/** Accepted when: NATS away for two minutes in the middle loses nothing, doubles nothing, and all goes on by itself. */
import { test } from 'node:test'
import { natsAway } from '../mail/acceptance/outages.ts'

test('NATS stopped for two minutes during a backfill loses nothing and doubles nothing', () =>
  natsAway(120_000, 'SIGTERM'))
test('NATS killed for ten seconds during a backfill loses nothing and doubles nothing', () =>
  natsAway(10_000, 'SIGKILL'))
