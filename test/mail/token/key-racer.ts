/** A process that loads the local key when its standard input says so and prints what it seals with. For keys.test.ts. */
import { once } from 'node:events'
import { loadKeys } from '../../../services/mail/token/keys.ts'
import { createSeal } from '../../../services/mail/token/seal.ts'
import { createLog } from '../../../shared/log.ts'
import { Secret } from '../../../shared/secret.ts'

const [dataDir = ''] = process.argv.slice(2)
process.stdout.write('ready\n')
await once(process.stdin, 'data')
const keys = await loadKeys({ production: false, dataDir, kidsInUse: [] }, createLog('test', 'silent'))
const binding = { userId: 'u', provider: 'google', inboxId: 'primary', field: 'credential' } as const
process.stdout.write(`${await createSeal(keys).seal(new Secret('hello'), binding)}\n`)
process.stdin.destroy()
