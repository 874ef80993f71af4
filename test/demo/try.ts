/** The lines that tell a newcomer what they saw and what to try while the demo runs. */
import { join } from 'node:path'
import { SYNC_INTERVAL_MS, type System } from './system.ts'
import type { Person } from './world.ts'

export function whatToTry(system: System, people: readonly Person[]): string[] {
  const { dir, nats, bridgeUrl, instance } = system
  const [name = 'ada'] = people.map((person) => person.name)
  return [
    ' Each mail of two mailboxes became one event on NATS JetStream, exactly once,',
    ` through a kill -9${system.isFleet ? ' and a lost disk' : ''}. Now a new mail arrives every few seconds; the service looks`,
    ` for new mail every ${SYNC_INTERVAL_MS / 1000} s here, every 30 s unless you configure it.`,
    '',
    ' Try, from another terminal in this folder:',
    `   status    curl -s ${bridgeUrl}/mail/status -H "Authorization: Bearer $(cat ${join(dir, `${name}.jwt`)})"`,
    `   events    . ${join(nats.dir, 'nats.env')}; NATS_URL=${nats.url} NATS_USER=consumer \\`,
    '               NATS_PASSWORD=$NATS_CONSUMER_PASSWORD npm run -s mailctl -- tail',
    `   kill it   kill -9 ${instance.pid}   (it is started again; nothing lost, nothing twice)`,
    '   next      README.md: make nats, an instance of your own, a real mailbox',
  ]
}
