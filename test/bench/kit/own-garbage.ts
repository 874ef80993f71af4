/** Garbage of this process, collected when nobody waits for it: where it stands between two that are measured. */
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'

setFlagsFromString('--expose-gc')
const collect = runInNewContext('gc') as (options: { type: 'minor' }) => void

/** The young generation; a millisecond when it is done often. */
export const collectYoung = (): void => collect({ type: 'minor' })
