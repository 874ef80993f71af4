/**
 * The mail service as a process: `node services/mail/main.js`. It switches Node's cache of compiled code on, and is JavaScript
 * for that: for the first file of TypeScript that is not in the cache Node loads what strips types, a tenth of a second of each start.
 */
import { enableCompileCache } from 'node:module'
import { join } from 'node:path'

// Kept where only those can write who may change the program; where this process may not, nothing is kept, and that is no
// error. NODE_COMPILE_CACHE names another folder.
enableCompileCache(join(import.meta.dirname, '../../node_modules/.cache/node'))
await import('./main.ts')
