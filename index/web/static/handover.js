// A picture that another screen was given goes along to the search screen: by the browser's own store, for a moment.

const NAME = "vsearch";
const KEY = "vsearch-picture"; // in this tab: under which number the picture lies

function opened() {
  return new Promise((done, failed) => {
    const asked = indexedDB.open(NAME, 1);
    asked.onupgradeneeded = () => asked.result.createObjectStore("pictures");
    asked.onsuccess = () => done(asked.result);
    asked.onerror = () => failed(asked.error);
  });
}

async function within(act) {
  const store = await opened();
  try {
    return await new Promise((done, failed) => {
      const change = store.transaction("pictures", "readwrite");
      const asked = act(change.objectStore("pictures"));
      change.oncomplete = () => done(asked.result);
      change.onerror = change.onabort = () => failed(change.error);
    });
  } finally {
    store.close();
  }
}

// Keep a picture until the next screen takes it; those that none has taken go.
export async function give(file) {
  const key = `${Date.now()} ${Math.random()}`;
  await within((pictures) => {
    pictures.clear();
    return pictures.put(file, key);
  });
  sessionStorage.setItem(KEY, key);
}

// Return the picture that the last screen of this tab gave, once; else null.
export async function take() {
  const key = sessionStorage.getItem(KEY);
  if (!key) return null;
  sessionStorage.removeItem(KEY);
  let found = null;
  await within((pictures) => {
    const asked = pictures.get(key);
    asked.onsuccess = () => (found = asked.result || null);
    return pictures.delete(key);
  });
  return found;
}
