// This visitor's ids in your analytics tools, for checkout_metadata() on your server:
// await BridgeIds.collect({consent: {analytics: true, ads: false}, ga: 'G-...', timeoutMs: 800})
(() => {
	const KEPT = 'bridge_first_touch';
	const TOOLS = {
		amplitude_device_id: ['amplitude', t => t.getDeviceId()],
		amplitude_session_id: ['amplitude', t => t.getSessionId()],
		segment_anonymous_id: ['analytics', t => t.user().anonymousId()],
		mixpanel_device_id: ['mixpanel', t => t.get_property('$device_id')],
		posthog_distinct_id: ['posthog', t => t.get_distinct_id()],
		posthog_session_id: ['posthog', t => t.get_session_id()],
	};
	const attempt = act => { try { return act(); } catch { return ''; } };
	const sleep = ms => new Promise(done => setTimeout(done, ms));
	const text = it => typeof it === 'string' || it > 0 ? `${it}` : '';
	const answer = it => it === true || it === 'granted' ? 'granted' : it === false || it === 'denied' ? 'denied' : '';
	const page = url => attempt(() => new URL(url).origin + new URL(url).pathname);
	const cookie = name => attempt(() => `; ${document.cookie}`.split(`; ${name}=`)[1].split(';')[0]);

	// How the visit began; kept in this tab if allowed. No queries: they may hold anything.
	const touch = keep => {
		const now = { landing_page: page(location) };
		if (!document.referrer.startsWith(location.origin)) now.referrer = page(document.referrer);
		for (const [name, value] of new URLSearchParams(location.search))
			if (/^utm_(source|medium|campaign|term|content)$/.test(name)) now[name] = value;
		return attempt(() => {
			if (keep) return JSON.parse(sessionStorage[KEPT] ??= JSON.stringify(now));
			delete sessionStorage[KEPT];
		}) || now;
	};

	const collect = async options => {
		const { consent = {}, timeoutMs = 800, ga, ...given } = options || {};
		let over;
		const late = sleep(timeoutMs).then(() => { over = true; });
		const asked = (async () => typeof consent === 'function' ? consent() : consent)();
		// Unanswered: no tool is read.
		const said = await Promise.race([asked.catch(() => 0), late]);
		const { at = Date.now() / 1000, region } = said || {};
		const analytics = answer(said?.analytics);
		const ads = navigator.globalPrivacyControl ? 'denied' : answer(said?.ads) || 'denied';
		const ids = {
			event_id: attempt(() => crypto.randomUUID()),
			consent: (analytics && `analytics=${analytics},`) + `ads=${ads},at=${Math.floor(at)}` +
				(region ? `,region=${region}` : ''),
		};
		if (ads === 'granted') Object.assign(ids, { fbp: cookie('_fbp'), fbc: cookie('_fbc') });
		if (!said || analytics === 'denied') attempt(() => delete sessionStorage[KEPT]);
		else {
			Object.assign(ids, touch(analytics === 'granted'));
			// Of an unknown version of Google's cookies nothing is guessed.
			ids.ga_client_id = /^GA1\.[\d-]+\.(\d+\.\d+)$/.exec(cookie('_ga'))?.[1];
			ids.ga_session_id = /^(?:GS1\.[\d-]+\.|GS2\.[\d-]+\.(?:[^$]*\$)*s)(\d+)(?![^.$])/
				.exec(cookie(`_ga_${ga}`.replace('G-', '')))?.[1];
			for (let wait = true; wait; await Promise.race([sleep(40), late])) {
				wait = false;
				for (const [name, [global, read]] of Object.entries(TOOLS)) {
					const tool = given[global] || window[global];
					ids[name] ||= attempt(() => text(read(tool)));
					wait ||= !over && !ids[name] && attempt(() => tool && !tool.nodeType);
				}
			}
		}
		return Object.fromEntries(Object.entries(ids).filter(([, value]) => value));
	};
	window.BridgeIds = { collect };
})();
