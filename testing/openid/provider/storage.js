// What the provider remembers. It outlives the provider, which is made anew when its keys or claims change.

const stored = new Map(); // model -> id -> { payload, expires }

const of = (model) => stored.get(model) ?? stored.set(model, new Map()).get(model);
const live = (entry) => (entry && !(entry.expires < Date.now()) ? entry.payload : undefined);

export class Storage {
  constructor(model) {
    this.model = model;
  }

  async upsert(id, payload, expiresIn) {
    of(this.model).set(id, { payload, expires: expiresIn ? Date.now() + expiresIn * 1000 : Infinity });
  }

  async find(id) {
    return live(of(this.model).get(id));
  }

  async findByUid(uid) {
    return all(this.model).find((payload) => payload.uid === uid);
  }

  async findByUserCode(code) {
    return all(this.model).find((payload) => payload.userCode === code);
  }

  async consume(id) {
    const payload = live(of(this.model).get(id));
    if (payload) payload.consumed = Math.floor(Date.now() / 1000);
  }

  async destroy(id) {
    of(this.model).delete(id);
  }

  async revokeByGrantId(grantId) {
    remove((payload) => payload.grantId === grantId);
  }
}

/** All payloads of a model that have not expired. */
export const all = (model) => [...of(model).values()].map(live).filter(Boolean);

/** Removes what is found, of every model or of some. */
export function remove(found, models = [...stored.keys()]) {
  for (const model of models) {
    for (const [id, entry] of of(model)) if (found(entry.payload)) of(model).delete(id);
  }
}
