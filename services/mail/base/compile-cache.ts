/**
 * Node's cache of compiled code, for the thread that asks for it. Kept where only those can write who may change the program;
 * where this process may not, nothing is kept, and that is no error. NODE_COMPILE_CACHE names another folder.
 */
import { enableCompileCache } from 'node:module'
import { join } from 'node:path'

export function keepCompiled(): void {
  enableCompileCache(join(import.meta.dirname, '../../../node_modules/.cache/node'))
}
